// Attention of a launch: which rows its tokens read.
#pragma once

#include "bench/cuda/history.h"
#include "kernels/cuda/attention.h"

namespace v4i::bench::cuda {

struct Reading {
  int ratio = 0;        // 0: the window alone
  bool chosen = false;  // topk of the compressed rows; else all
  int pinned = 0;       // of ten blocks of compressed rows
};

struct AttentionRun {
  std::vector<kc::SparseAttentionArgs> args;  // of every variant
  double rows_bytes = 0;                      // KV rows that a launch reads
  double flops = 0;

  // Sets c.cold, and asks the meter how many variants that makes.
  AttentionRun(Meter& m, Store& store, const Company& who, const Reading& what, Case* c);
  void launch(const fc::Stream& s, int variant) const;
};

}  // namespace v4i::bench::cuda
