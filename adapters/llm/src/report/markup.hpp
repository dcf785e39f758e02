// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace kedge::llm {

/// Text as it may stand in HTML, between tags or in quotes. Control characters, and those that turn the direction of what follows, are made
/// visible; bytes that are no UTF-8 become U+FFFD.
[[nodiscard]] std::string escaped(std::string_view text);

/// "0.1235", "2e-5": four digits that count.
[[nodiscard]] std::string short_figure(double value);
/// Seven digits that count, as JSON has them.
[[nodiscard]] std::string exact_figure(double value);
/// "512", "12k", "1.5M".
[[nodiscard]] std::string short_steps(double steps);
/// "48 s", "12 min 5 s", "3 h 20 min".
[[nodiscard]] std::string duration(double seconds);
/// "1.2 GB".
[[nodiscard]] std::string size_in_memory(double bytes);
/// A value of a setting: a text without quotes, a list with commas, "none" for null.
[[nodiscard]] std::string setting_text(nlohmann::ordered_json const& value);

/// A whole page that needs nothing from elsewhere.
[[nodiscard]] std::string whole_page(std::string_view title, std::string_view body);

/// Of whole_page.
extern char const* const page_style;
extern char const* const page_script;

}  // namespace kedge::llm
