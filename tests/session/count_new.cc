// operator new of this test program counts.
#include "tests/support/count_new.inc"
