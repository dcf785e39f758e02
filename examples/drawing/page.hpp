// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace kedge_drawing {

/// Text as it may stand in HTML, between tags or in quotes.
[[nodiscard]] std::string escaped(std::string const& text);

/// A page that needs nothing from elsewhere: style, a heading with the title, the body (HTML), and the version. It has the classes
/// of to_svg's lines, table cells `number`, and `good`, `bad`, `soft` and `scroll`.
[[nodiscard]] std::string page(std::string const& title, std::string const& body, std::string const& further_style = "");

}  // namespace kedge_drawing
