// The C interface of the test device: what Go calls.
#pragma once
#include <stddef.h>
#ifdef __cplusplus
extern "C" {
#endif

void devicetest_register(void);               // adds the device to ggml's registry, once however often it is called
const char * devicetest_name(void);           // by which ggml knows it
void devicetest_set_memory(size_t bytes);     // how much it has in all; buffers that exist stay
size_t devicetest_used(void);                 // the bytes of all its buffers

enum { DEVICETEST_CUDA = 1, DEVICETEST_VULKAN = 2 }; // as enum Backends
// The device takes the operations that all of these back ends take.
void devicetest_stand_for(unsigned backends);
void devicetest_refuse_iq4nl(int refuse);   // whether it takes no product with IQ4_NL weights
void devicetest_round_to_halves(int on);    // whether products of more than 8 rows of floats round these to half precision
void devicetest_set_codebook(int codebook); // of IQ4_NL, as enum Codebook
// The back ends that take an operation, by ggml's names; second "": it has one source. without: the conditions of facts.h that it
// does not meet.
unsigned devicetest_takers(const char * op, int sub, const char * result, const char * first, const char * second, unsigned without);
// Multiplies the matrices of a view on the device: so many rows lie between two of them, and so many values before the first. Returns
// whether the device computed that.
int devicetest_try_product(int rows_between, int values_before);

// What was computed of products of one kind since they were taken the last time.
typedef struct {
    int rank;               // of adapters padded to that rank; 0: of whole weights
    long long calls;
    double multiplications;
    double bytes;           // of the weights that were read
} devicetest_products;
int devicetest_take_products(devicetest_products * out, int capacity); // returns how many kinds

// How data came to the device since it was taken the last time, and who waited for the device.
typedef struct {
    long long waits;  // synchronizations of back ends that have computed graphs
    long long async;  // copies put into the queue of a back end
    long long copies; // copies that were done at once
} devicetest_transfers;
void devicetest_take_transfers(devicetest_transfers * out);

#ifdef __cplusplus
}
#endif
