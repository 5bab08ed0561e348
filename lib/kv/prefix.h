// Prefix: the token ids of a sequence and the hash chain that names them.
//
//   digest(0)         root
//   digest(128 k)     sha256(digest(128 (k - 1)) | the 128 ids)      a link, kept
//   digest(T)         sha256(digest(128 k) | the T - 128 k ids)      computed when asked
//
// A token that stands for a part of an image or another medium is named by the medium's content
// and its row in it, besides its id: a link hashes, after its ids, (index in the link, content,
// row) of each such token.
//
// Two sequences with equal roots and equal digests hold the same tokens, so rows
// computed from them are equal too: that is what makes KV blocks shareable.
//
// One thread at a time.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lib/base/budget.h"
#include "lib/base/hash.h"

namespace v4i::kv {

// `count` tokens from `first` on whose embeddings are rows `row`, `row` + 1, ... of a medium.
struct Media {
  std::int64_t first = 0, count = 0, row = 0;
  Digest content{};  // of all that decides the embeddings: pixels, geometry, preprocessing
};

class Prefix {
 public:
  static constexpr std::int64_t kLink = 128;  // tokens per link

  Prefix(Budget& budget, const Digest& root) : budget_(&budget), root_(root) {}

  const Digest& root() const { return root_; }
  std::int64_t size() const { return size_; }
  std::uint64_t bytes() const { return ids_.bytes() + links_.bytes(); }
  // What `tokens` take at most, while the lists grow to them piece by piece.
  static std::uint64_t most_bytes(std::uint64_t tokens);

  // Makes room for `tokens` in all, and for `media` more spans.  Unchanged when it throws.
  void reserve(std::int64_t tokens, std::size_t media = 0);
  // Into reserved room; allocates nothing.  `media` count from the first of `ids`, rising.
  void append(std::span<const std::int32_t> ids, std::span<const Media> media = {});
  void cut(std::int64_t size) noexcept;  // keeps the first `size`
  Prefix copy() const;
  Digest digest(std::int64_t size) const;
  // Of a position below size(): its id, and whether it stands for a part of a medium.
  std::int32_t id(std::int64_t position) const { return ids_[static_cast<std::size_t>(position)]; }
  bool is_media(std::int64_t position) const;

 private:
  Digest extend(const Digest& from, std::int64_t begin, std::int64_t end) const;

  Budget* budget_;
  Digest root_;
  std::int64_t size_ = 0;
  Buffer<std::int32_t> ids_;
  std::vector<Media> media_;  // of all tokens, rising
  Buffer<Digest> links_;      // links_[k] = digest(kLink * (k + 1))
};

}  // namespace v4i::kv
