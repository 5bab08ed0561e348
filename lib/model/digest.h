// The name of a checkpoint: what keys its KV blocks and saved sessions.
#pragma once

#include "lib/base/hash.h"
#include "lib/loader/checkpoint.h"
#include "lib/model/config.h"

namespace v4i::model {

// SHA-256 over
//   - the Config's numbers,
//   - name, dtype and shape of every tensor, sorted by name (the official names, so
//     that a re-sharded or prefixed copy has the same digest),
//   - bytes: tensors up to 64 KiB whole, the first 4 KiB of larger ones; of routed
//     experts only expert 0 of each layer.
// A sample, because 160 GB cannot be read at open.  Two trained models differ in
// their norms and scales, which it holds completely; a copy with a few expert bytes
// changed does not get another name.
// That is about 20 MB of V4-Flash.
Digest digest_of(const loader::Checkpoint& checkpoint, const Config& config);

// How many of a tensor's first bytes digest_of() reads.
std::size_t digest_sample_bytes(const loader::TensorInfo& tensor);

}  // namespace v4i::model
