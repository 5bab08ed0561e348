// Tiny models as sessions see them.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "lib/session/session.h"
#include "tests/support/tiny_model.h"

namespace v4i::session::test {

using Ids = std::vector<std::int32_t>;
using Logits = std::vector<float>;  // rows of kVocab

inline constexpr std::size_t kVocab = 512;
inline constexpr forward::Numerics kBoth[] = {forward::Numerics::kNative,
                                              forward::Numerics::kExact};

// The tiny model `seed`: of V4, or of V4.1 where V4INFER_TEST_FAMILY is "v41".
std::string tiny(int seed);

struct Open {
  int seed = 0;
  forward::Numerics numerics = forward::Numerics::kNative;
  int threads = 1;
  int batch = 64;
  std::string isa{};
  std::int64_t context = 1024;
  std::string path{};  // instead of the tiny model `seed`
  std::shared_ptr<store::BlockStore> kv_store{};
  int rows_per_block = 64;
  std::size_t expert_slots = 0;  // 0: experts are mapped
};

std::shared_ptr<Engine> make_engine(int threads = 1, const std::string& isa = "");
std::shared_ptr<Context> open(const Open& o = {});
std::shared_ptr<Context> open(std::shared_ptr<Engine> engine, const Open& o = {});
std::unique_ptr<Session> make_session(std::shared_ptr<Context> context, std::uint64_t seed = 0);

// The tiny model 0 with a tokenizer of 512 tokens; kept for the life of the program.
const std::string& model_with_tokenizer();

Ids make_ids(std::size_t n, std::uint64_t seed = 1);  // 2 to 511: neither BOS nor EOS
inline std::span<const std::int32_t> part(const Ids& ids, std::size_t first, std::size_t count) {
  return std::span<const std::int32_t>(ids).subspan(first, count);
}

Logits eval(Session& s, std::span<const std::int32_t> ids, int chunk = 0);
Logits last(const Session& s);  // logits()
// Where the KV rows of the context lie: the place whose budget they need.
inline Place kv_place(Context& c) { return c.cache().memory().place(); }
// What one chunk after the other gives, uninterrupted: a row per token.
Logits reference(const Ids& ids, const Open& o = {});
// Rows [first, first + n) of both have equal bits.
bool same_rows(const Logits& a, std::size_t a_row, const Logits& b, std::size_t b_row,
               std::size_t n);

std::shared_ptr<const sampling::Sampler> greedy();
std::shared_ptr<const sampling::Sampler> hot();  // temperature 2, top-p 0.98

std::string save(Session& s);
std::unique_ptr<Session> restore(std::shared_ptr<Context> context, const std::string& bytes,
                                 const SessionOptions& options = {});

// The text of the Error that body throws, with its code in front: "-9 there is ...".
template <class Body>
std::string error_of(Body&& body) {
  try {
    body();
  } catch (const Error& e) {
    return std::to_string(static_cast<int>(e.code())) + " " + e.text();
  }
  return "no error";
}

inline bool has(const std::string& text, const std::string& piece) {
  return text.find(piece) != std::string::npos;
}

}  // namespace v4i::session::test
