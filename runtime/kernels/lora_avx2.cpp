#include "internal.h"
#if defined(__x86_64__)
const lk_lora_ops lk_lora_avx2 = lk_lora_portable;
#endif
