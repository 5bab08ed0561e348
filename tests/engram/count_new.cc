// Counts what this program takes from the heap.
#include "tests/support/count_new.inc"
