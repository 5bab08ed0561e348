// SHA-256 by OpenSSL, which uses the instructions that processors have for it.
#include "sha256.h"

#include <openssl/evp.h>

#include "common.h"

namespace cli {
namespace {

void must(int done) {
  if (done != 1) throw Failure("SHA-256 is not there: OpenSSL refuses it");
}

}  // namespace

Sha256::Sha256() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
  must(context_ != nullptr ? EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) : 0);
}

void Sha256::update(const void* data, std::size_t bytes) {
  must(EVP_DigestUpdate(context_.get(), data, bytes));
}

std::string Sha256::finish() {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned bytes = 0;
  must(EVP_DigestFinal_ex(context_.get(), digest, &bytes));
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (unsigned i = 0; i < bytes; ++i) {
    out += kDigits[digest[i] >> 4];
    out += kDigits[digest[i] & 15];
  }
  return out;
}

}  // namespace cli
