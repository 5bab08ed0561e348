// A tiny model opened for forward tests, and what the oracle says about it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "lib/base/thread_pool.h"
#include "lib/forward/forward.h"

namespace v4i::test {

// Everything a Forward needs, for one model.
struct Rig {
  Budget budget;
  ThreadPool pool;
  std::shared_ptr<const model::Model> model;
  std::shared_ptr<forward::Backend> backend;
  std::unique_ptr<forward::Forward> forward;
  store::BlockCache store;

  Rig(const std::string& path, forward::Numerics numerics, int threads = 1, int max_tokens = 300,
      const char* kernels = nullptr);
  kv::State state();
  kv::State draft_state();
  std::int64_t vocab() const { return model->config().vocab; }

  // Logits of every token, `chunk` tokens a run.  With `rows` [tokens, width], those whose role is
  // not -1 have these embeddings.
  std::vector<float> logits(const std::vector<std::int32_t>& ids, int chunk);
};

std::vector<const char*> kernel_names();  // of the tables that run here
// What a table computes, the best one when none is named: not every one has int8 products.
std::vector<forward::Numerics> modes(const char* kernels = nullptr);
// Tiny models that a test goes through: `all`, or as many as V4I_TEST_SEEDS says.
int seeds(int all);
std::vector<std::int32_t> read_ids(const std::string& model_path);

// case_text.json or case_image.json of a tiny V4.1 model.
struct Case {
  Case(const std::string& model_path, const std::string& name);
  std::vector<std::int32_t> ids;
  std::vector<int> roles;  // empty for text; -1 at positions of text
  struct Image {
    std::int64_t start, grid_h, grid_w;
  };
  std::vector<Image> images;
};

// The oracle's results for a tiny model, see tests/oracle/forward_goldens.py; computed
// once and kept in the model's folder.
class Golden {
 public:
  explicit Golden(int seed);                        // of make_tiny(seed, 300)
  static Golden v41(int seed, bool engram = true);  // of make_tiny_v41(seed), v41_goldens.py
  // Of make_tiny(seed, 64, true) or make_tiny_v41(seed), dspark_goldens.py.
  static Golden dspark(int seed, bool v41);
  static Golden pro(int seed);  // of make_tiny_pro(seed, 160): exact logits and MTP only
  const std::string& model() const { return model_; }
  std::vector<float> read(const std::string& name) const;

 private:
  Golden(std::string model, const std::string& command, const std::string& folder = "golden");
  std::string model_, folder_;
};

}  // namespace v4i::test
