// Model: tiny checkpoints open, under every spelling and layout that is accepted.
#include "lib/model/model.h"

#include "lib/base/error.h"
#include "lib/base/thread_pool.h"
#include "tests/support/catch.h"
#include "tests/support/tiny_model.h"

using namespace v4i;
using namespace v4i::model;

TEST_CASE("a tiny V4 checkpoint opens and binds every part", "[model]") {
  const auto m = Model::open(test::make_tiny(0));
  const Config& c = m->config();
  CHECK(c.layers == 4);
  CHECK(c.width == 256);
  CHECK(m->plan().draft_stages == 1);
  REQUIRE(m->weights().layers.size() == 4);
  CHECK(m->weights().layers[0].ffn.tid2eid.size() == 512 * 2);
  CHECK(m->weights().layers[0].ffn.bias.empty());
  CHECK(m->weights().layers[1].ffn.bias.size() == 8);
  CHECK(m->weights().layers[1].attn.indexer.wq_b.rows == 32 * 128);
  CHECK(m->weights().layers[2].attn.compressor.ape.size() == 128 * 128);
  CHECK(m->weights().layers[3].ffn.experts[7].w2.format == WeightFormat::kFp4);
  CHECK(m->weights().mtp.size() == 1);
  CHECK(m->weights().dspark.stages.empty());
  ThreadPool pool(2);
  const std::int32_t all[] = {0, 1, 2, 3, 4, 5, 6, 7};
  for (int l = 0; l < 4; ++l) {
    m->touch_layer(l, pool);
    m->touch_experts(l, all, 8, pool);
  }
  m->touch_head(pool);
  m->touch_mtp(pool);
  m->touch_mtp_experts(all, 8, pool);
  m->touch_embedding(all, 8);
}
