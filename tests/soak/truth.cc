// Truth; see truth.h.
#include "tests/soak/truth.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>

namespace v4i::soak {

namespace {

constexpr std::uint64_t kMagic = 0x31656b616f733476;  // "v4soake1"

std::vector<std::int32_t> make_story(int s, int tokens, std::uint32_t vocab) {
  std::vector<std::int32_t> out(static_cast<std::size_t>(tokens));
  std::mt19937_64 common(static_cast<std::uint64_t>(s / 2) + 1),
      own(static_cast<std::uint64_t>(s) + 1000);
  const std::size_t shared = out.size() / 2;
  for (std::size_t i = 0; i < out.size(); ++i)
    out[i] = static_cast<std::int32_t>((i < shared ? common() : own()) % vocab);
  return out;
}

void say(const v4infer::Model& model, const std::vector<std::int32_t>& story, std::uint32_t vocab,
         Said* out) {
  constexpr std::size_t kChunk = 128;
  v4infer::Session s = must(v4infer::Session::create(model), "a session without tiers");
  for (std::size_t at = 0; at < story.size(); at += kChunk) {
    const std::size_t n = std::min(kChunk, story.size() - at);
    const auto first = story.begin() + static_cast<std::ptrdiff_t>(at);
    const v4infer::Tokens some(first, first + static_cast<std::ptrdiff_t>(n));
    const std::vector<float> logits = must(s.eval(some, vocab), "eval without tiers");
    for (std::size_t i = 0; i < n; ++i) {
      const float* row = logits.data() + i * vocab;
      out[at + i].next = static_cast<std::int32_t>(std::max_element(row, row + vocab) - row);
      out[at + i].logits = hash_of(row, vocab);
    }
  }
}

}  // namespace

void give_up(const std::string& sentence) {
  std::fprintf(stderr, "soak: FAILED: %s\n", sentence.c_str());
  std::fflush(nullptr);
  std::_Exit(1);
}

std::uint64_t hash_of(const float* logits, std::size_t n) {
  std::uint64_t h = 0xcbf29ce484222325;
  for (std::size_t i = 0; i < n; ++i) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, logits + i, sizeof bits);
    h = (h ^ bits) * 0x100000001b3;
  }
  return h;
}

void Truth::make(const std::string& path, const std::string& file, int stories, int tokens) {
  const v4infer::Engine engine = must(v4infer::Engine::create(), "an engine");
  const v4infer::Model model = must(v4infer::Model::open(engine, path.c_str()), "the model");
  const v4i_model_info info = must(model.info(), "model info");
  TruthHeader h{kMagic, stories, tokens, 0};
  std::memcpy(&h.digest, info.digest, sizeof h.digest);
  if (std::FILE* f = std::fopen(file.c_str(), "rb")) {
    TruthHeader there;
    const bool same =
        std::fread(&there, sizeof there, 1, f) == 1 && std::memcmp(&there, &h, sizeof h) == 0;
    std::fclose(f);
    if (same) return;
  }
  const std::string draft = file + ".new";
  std::FILE* f = std::fopen(draft.c_str(), "wb");
  if (f == nullptr) give_up(draft + " cannot be written");
  std::vector<std::vector<std::int32_t>> all;
  for (int s = 0; s < stories; ++s) all.push_back(make_story(s, tokens, info.vocab_size));
  bool good = std::fwrite(&h, sizeof h, 1, f) == 1;
  for (const auto& story : all)
    good = good && std::fwrite(story.data(), sizeof story[0], story.size(), f) == story.size();
  std::vector<Said> said(static_cast<std::size_t>(tokens));
  for (const auto& story : all) {
    say(model, story, info.vocab_size, said.data());
    good = good && std::fwrite(said.data(), sizeof said[0], said.size(), f) == said.size();
  }
  if (std::fclose(f) != 0 || !good || std::rename(draft.c_str(), file.c_str()) != 0)
    give_up(file + " cannot be written");
}

Truth::Truth(const std::string& file) {
  const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat st = {};
  if (fd < 0 || ::fstat(fd, &st) != 0) give_up(file + " cannot be read");
  void* p = ::mmap(nullptr, static_cast<std::size_t>(st.st_size), PROT_READ, MAP_SHARED, fd, 0);
  ::close(fd);
  if (p == MAP_FAILED) give_up(file + " cannot be mapped");
  header_ = static_cast<const TruthHeader*>(p);
  if (header_->magic != kMagic) give_up(file + " is no truth of a soak");
  ids_ = reinterpret_cast<const std::int32_t*>(header_ + 1);
  // Stories times tokens is even, so that what follows is aligned.
  said_ = reinterpret_cast<const Said*>(ids_ + header_->stories * header_->tokens);
}

}  // namespace v4i::soak
