// The families of kernels that kernels_bench measures, each at the shapes of a V4-Flash layer.
#pragma once

#include "bench/cuda/meter.h"

namespace v4i::bench::cuda {

void measure_floors(Meter& m);     // sets m.bandwidth
void measure_products(Meter& m);   // linear.h: few and many tokens, every format; the head
void measure_experts(Meter& m);    // experts.h
void measure_attention(Meter& m);  // attention.h
void measure_indexer(Meter& m);    // indexer.h, select.h
void measure_rows(Meter& m);       // rows.h, compressor.h
void measure_streams(Meter& m);    // streams.h
void measure_router(Meter& m);     // router.h, norm.h
// What choosing rows gains over reading all: attention over every compressed row, against index
// scores, the choice, and attention over what was chosen.
void measure_sparse(Meter& m);

}  // namespace v4i::bench::cuda
