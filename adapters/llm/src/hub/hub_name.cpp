// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include <kedge/llm/hub/hub_name.hpp>

#include "layout.hpp"

namespace kedge::llm {
namespace {

namespace fs = std::filesystem;

bool is_word(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' || c == '.';
}

// One of the two parts of a repository's name.
bool is_part(std::string_view part) {
  auto const at_end = [](char c) { return c == '-' || c == '.'; };
  return !part.empty() && std::all_of(part.begin(), part.end(), is_word) && !at_end(part.front()) && !at_end(part.back());
}

bool is_repository(std::string_view name) {
  std::size_t const slash = name.find('/');
  std::string_view const own = slash == std::string_view::npos ? name : name.substr(slash + 1);
  bool const parts = is_part(own) && (slash == std::string_view::npos || is_part(name.substr(0, slash)));
  return parts && own.size() <= 96 && name.find("--") == std::string_view::npos && name.find("..") == std::string_view::npos &&
         !name.ends_with(".git");
}

bool is_revision(std::string_view revision) {
  return !revision.empty() && is_inside(revision) &&
         std::all_of(revision.begin(), revision.end(), [](char c) { return is_word(c) || c == '/'; });
}

}  // namespace

bool is_inside(std::string_view path) {
  if (path.empty() || path.front() == '/' || path.find('\0') != std::string_view::npos ||
      path.find('\\') != std::string_view::npos)
    return false;
  fs::path const whole(path);
  return std::none_of(whole.begin(), whole.end(),
                      [](fs::path const& part) { return part == ".." || part == "." || part.empty(); });
}

bool is_hexadecimal(std::string_view text, std::size_t digits) {
  return text.size() == digits &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::string repository_folder(hub_name const& name) {
  std::string folder = std::string(name_of(name.kind)) + "s--";
  for (char const c : name.repository) folder += c == '/' ? "--" : std::string(1, c);
  return folder;
}

std::string hub_name::text() const {
  return repository + (path.empty() ? "" : "/" + path) + (revision == "main" ? "" : "@" + revision);
}

bool hub_name::is_commit() const { return is_hexadecimal(revision, commit_digits); }

std::optional<hub_name> parse_hub_name(std::string_view text, hub_kind kind) {
  hub_name name{.kind = kind, .repository = {}, .path = {}};
  bool const scheme = text.starts_with("hf://");
  if (scheme) text.remove_prefix(std::string_view("hf://").size());
  for (auto const& row : names(hub_kind{}))
    if (std::string const folder = std::string(row.name) + "s/";
        text.starts_with(folder) && (scheme || row.value == hub_kind::dataset)) {
      if (row.value != kind) return std::nullopt;
      text.remove_prefix(folder.size());
    }
  if (std::size_t const at = text.find('@'); at != std::string_view::npos) {
    name.revision = text.substr(at + 1);
    if (!is_revision(name.revision)) return std::nullopt;
    text = text.substr(0, at);
  }
  std::size_t const first = text.find('/'), second = first == std::string_view::npos ? first : text.find('/', first + 1);
  name.repository = text.substr(0, second);
  if (second != std::string_view::npos) {
    name.path = text.substr(second + 1);
    if (name.path.ends_with('/')) name.path.pop_back();
    if (!name.path.empty() && !is_inside(name.path)) return std::nullopt;
  }
  if (!is_repository(name.repository)) return std::nullopt;
  return name;
}

std::optional<hub_name> hub_name_of(fs::path const& path) {
  fs::path const whole = fs::absolute(path).lexically_normal();
  for (fs::path at = whole; at.has_relative_path(); at = at.parent_path()) {
    if (at.parent_path().filename() != snapshots_folder) continue;
    std::string folder = at.parent_path().parent_path().filename().string();
    for (auto const& row : names(hub_kind{})) {
      std::string const start = std::string(row.name) + "s--";
      if (!folder.starts_with(start)) continue;
      folder.erase(0, start.size());
      if (std::size_t const dashes = folder.find("--"); dashes != std::string::npos) folder.replace(dashes, 2, "/");
      if (!is_repository(folder)) return std::nullopt;
      std::string const inside = whole.lexically_relative(at).generic_string();
      return hub_name{row.value, folder, at.filename().string(), inside == "." ? "" : inside};
    }
  }
  return std::nullopt;
}

std::string portable_name(fs::path const& model) {
  auto const name = hub_name_of(model);
  return name && name->path.empty() ? name->repository : fs::absolute(model).lexically_normal().string();
}

std::string short_name(fs::path const& model) {
  if (auto const name = hub_name_of(model)) return name->path.empty() ? name->repository : name->repository + "/" + name->path;
  return (model.has_filename() ? model : model.parent_path()).filename().string();
}

}  // namespace kedge::llm
