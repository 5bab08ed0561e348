// SHA-256 of what is fed piece by piece.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

struct evp_md_ctx_st;

namespace cli {

class Sha256 {
 public:
  Sha256();
  void update(const void* data, std::size_t bytes);
  std::string finish();  // 64 lower-case digits; the object is spent afterwards

 private:
  std::unique_ptr<evp_md_ctx_st, void (*)(evp_md_ctx_st*)> context_;
};

}  // namespace cli
