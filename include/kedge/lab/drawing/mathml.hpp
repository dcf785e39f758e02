// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

// Elements of MathML, for an experiment's formula.

namespace kedge::lab::drawing::mathml {

[[nodiscard]] inline std::string element(std::string const& name, std::string const& inside) { return "<" + name + ">" + inside + "</" + name + ">"; }
[[nodiscard]] inline std::string i(std::string const& letter) { return element("mi", letter); }        ///< a quantity
[[nodiscard]] inline std::string n(std::string const& number) { return element("mn", number); }        ///< a number
[[nodiscard]] inline std::string o(std::string const& sign) { return element("mo", sign); }            ///< an operator
[[nodiscard]] inline std::string words(std::string const& text) { return element("mtext", text); }     ///< words
[[nodiscard]] inline std::string row(std::string const& parts) { return element("mrow", parts); }      ///< several as one
[[nodiscard]] inline std::string sub(std::string const& base, std::string const& index) { return element("msub", row(base) + row(index)); }
[[nodiscard]] inline std::string sup(std::string const& base, std::string const& power) { return element("msup", row(base) + row(power)); }
[[nodiscard]] inline std::string over(std::string const& top, std::string const& bottom) { return element("mfrac", row(top) + row(bottom)); }

}  // namespace kedge::lab::drawing::mathml
