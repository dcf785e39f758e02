// SPDX-License-Identifier: Apache-2.0
#include "repository.hpp"

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/json.hpp>

#include "layout.hpp"
#include "patience.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

// "W/\"abc\"" and "\"abc\"" are abc.
std::string plain_etag(std::string etag) {
  if (etag.starts_with("W/")) etag.erase(0, 2);
  std::erase(etag, '"');
  return etag;
}

std::string with_token(hub_settings const& settings) {
  return settings.token.empty() ? "a token is needed: set HF_TOKEN, or run hf auth login"
                                : "the token given (HF_TOKEN, or that of hf auth login) isn't allowed to read it";
}

std::string kind_of(hub_name const& name) { return name.kind == hub_kind::model ? "model" : "data set"; }

}  // namespace

void require_success(http_answer const& answer, hub_name const& name, std::string const& what, hub_settings const& settings) {
  if (answer.status >= 200 && answer.status < 300) return;
  std::string const code = answer.field("x-error-code"), who = in_quotes(name.repository), host = origin_of(settings.endpoint);
  if (code == "GatedRepo")
    throw error(who + " is gated: accept its terms at " + settings.endpoint + "/" +
                (name.kind == hub_kind::dataset ? "datasets/" : "") + name.repository + ", and " + with_token(settings));
  if (code == "RevisionNotFound") throw error(who + " has no revision " + in_quotes(name.revision) + " at " + host);
  if (code == "EntryNotFound") throw error(who + " has no " + in_quotes(what) + " at revision " + in_quotes(name.revision));
  // The hub doesn't tell those who may not read a repository whether there is one.
  if (code == "RepoNotFound" || answer.status == 401 || answer.status == 404)
    throw error("there is no " + kind_of(name) + " " + who + " at " + host +
                ", or it is private: check the name; if it is private, " + with_token(settings));
  if (answer.status == 403) throw error(who + " may not be read: " + with_token(settings));
  std::string const words = answer.field("x-error-message");
  throw error(host + " answers " + std::to_string(answer.status) + " for " + in_quotes(what) + " of " + who +
              (words.empty() ? "" : ": " + in_quotes(words)));
}

repository_listing list_repository(http_client& client, hub_name const& name, hub_settings const& settings) {
  std::string revision = percent_escaped(name.revision);
  for (std::size_t at = 0; (at = revision.find('/', at)) != std::string::npos;) revision.replace(at, 1, "%2F");
  std::string const url = settings.endpoint + "/api/" + std::string(name_of(name.kind)) + "s/" +
                          percent_escaped(name.repository) + "/revision/" + revision;
  http_answer const answer = send_patiently(client, {.url = url}, settings);
  require_success(answer, name, "the list of files", settings);
  json const said = parse_json(answer.body, url);
  repository_listing listing;
  if (said.is_object() && said.contains("sha") && said["sha"].is_string()) listing.commit = said["sha"].get<std::string>();
  if (!is_hexadecimal(listing.commit, commit_digits) || !said.contains("siblings") || !said["siblings"].is_array())
    throw error(url + ": the answer is no list of a repository's files; is HF_ENDPOINT the address of a hub?");
  for (json const& one : said["siblings"])
    if (one.is_object() && one.contains("rfilename") && one["rfilename"].is_string() &&
        is_inside(one["rfilename"].get_ref<std::string const&>()))
      listing.files.push_back(one["rfilename"].get<std::string>());
  return listing;
}

std::string file_url(hub_name const& name, std::string const& commit, std::string const& path, hub_settings const& settings) {
  return settings.endpoint + (name.kind == hub_kind::dataset ? "/datasets/" : "/") + percent_escaped(name.repository) +
         "/resolve/" + commit + "/" + percent_escaped(path);
}

remote_file describe_file(http_client& client, hub_name const& name, std::string const& commit, std::string const& path,
                          hub_settings const& settings) {
  http_answer const answer =
      send_patiently(client, {.url = file_url(name, commit, path, settings), .head_only = true}, settings);
  bool const moved = answer.status >= 300 && answer.status < 400;
  if (!moved) require_success(answer, name, path, settings);
  std::string const linked = answer.field("x-linked-etag");
  remote_file file{path, plain_etag(linked.empty() ? answer.field("etag") : linked), answer.number("x-linked-size")};
  if (!file.size && !moved) file.size = answer.number("content-length");
  // It becomes a file's name.
  if (file.etag.empty() || file.etag.find('/') != std::string::npos || !is_inside(file.etag))
    throw error(in_quotes(path) + " of " + in_quotes(name.repository) +
                ": the answer has no ETag that names its content; is HF_ENDPOINT the address of a hub?");
  return file;
}

}  // namespace kedge::llm
