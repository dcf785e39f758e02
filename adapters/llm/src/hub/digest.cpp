// SPDX-License-Identifier: Apache-2.0
#include "digest.hpp"

#include <array>
#include <cstdio>
#include <memory>
#include <vector>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/hub/hub_settings.hpp>

#include "shared_library.hpp"

namespace kedge::llm {
namespace {

// OpenSSL's functions, the same since its version 1.1. Contexts and algorithms are opaque.
struct crypto {
  void* (*new_context)();
  void (*free_context)(void*);
  void const* (*sha1)();
  void const* (*sha256)();
  int (*init)(void*, void const*, void*);
  int (*update)(void*, void const*, std::size_t);
  int (*final)(void*, unsigned char*, unsigned*);

  crypto() {
    static constexpr std::array names{"libcrypto.so.3", "libcrypto.so.1.1", "libcrypto.so"};
    shared_library const library(names, "libcrypto", "libssl3");
    library.take(new_context, "EVP_MD_CTX_new");
    library.take(free_context, "EVP_MD_CTX_free");
    library.take(sha1, "EVP_sha1");
    library.take(sha256, "EVP_sha256");
    library.take(init, "EVP_DigestInit_ex");
    library.take(update, "EVP_DigestUpdate");
    library.take(final, "EVP_DigestFinal_ex");
  }

  static crypto const& loaded() {
    static crypto const once;
    return once;
  }
};

std::string hexadecimal(unsigned char const* bytes, std::size_t count) {
  static constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  for (std::size_t i = 0; i < count; ++i) {
    text += digits[bytes[i] >> 4U];
    text += digits[bytes[i] & 15U];
  }
  return text;
}

}  // namespace

void require_digests() { crypto::loaded(); }

std::string digest_of(std::filesystem::path const& file, digest_kind kind, std::function<bool()> const& stop) {
  crypto const& library = crypto::loaded();
  std::unique_ptr<void, void (*)(void*)> const context(library.new_context(), library.free_context);
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> const in(std::fopen(file.c_str(), "rb"), std::fclose);
  if (!in) throw error(in_quotes(file.string()) + " can't be read back to be checked");
  library.init(context.get(), kind == digest_kind::sha256 ? library.sha256() : library.sha1(), nullptr);
  if (kind == digest_kind::git_blob) {
    std::string const head = "blob " + std::to_string(std::filesystem::file_size(file));
    library.update(context.get(), head.c_str(), head.size() + 1);  // its final zero too
  }
  std::vector<char> buffer(std::size_t{4} << 20U);
  for (std::size_t n = 0; (n = std::fread(buffer.data(), 1, buffer.size(), in.get())) > 0;) {
    if (stop && stop()) throw hub_interrupted();
    library.update(context.get(), buffer.data(), n);
  }
  if (std::ferror(in.get()) != 0) throw error(in_quotes(file.string()) + " can't be read back to be checked");
  std::array<unsigned char, 64> bytes{};
  unsigned size = 0;
  library.final(context.get(), bytes.data(), &size);
  return hexadecimal(bytes.data(), size);
}

}  // namespace kedge::llm
