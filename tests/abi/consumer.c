/* The smallest user of the installed package. */
#include <stdio.h>
#include <v4infer/v4infer.h>

int main(void) {
  if (v4i_abi_version() != V4I_ABI_VERSION) return 1;
  printf("%s\n", v4i_version_string());
  return 0;
}
