// The device's memory.
#pragma once
#include "ggml-backend-impl.h"

namespace devicetest {

extern const char * const NAME; // of the device and of its type of buffer

ggml_backend_buffer_type_t buffer_type();
ggml_backend_dev_t device();

// Where the data of a tensor lies that has an address in the device's memory. Ends the process where it has another.
char * data_of(const ggml_tensor * t);

size_t memory_total();
size_t memory_used();
void set_memory_total(size_t bytes);

} // namespace devicetest
