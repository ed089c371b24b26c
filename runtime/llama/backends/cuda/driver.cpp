// The functions of the CUDA driver that ggml-cuda refers to by name. libcuda.so.1 is opened when the first is called, so
// that the back end can be loaded where no driver is installed: it then has no devices, since the runtime finds none.
#include <cuda.h>
#include <dlfcn.h>

namespace {

void * driver() {
    static void * const handle = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    return handle;
}

template <typename Function> Function * find(const char * name) {
    return driver() ? reinterpret_cast<Function *>(dlsym(driver(), name)) : nullptr;
}

} // namespace

// cuda.h names some functions by macros that choose their version: TEXT gives the name after that choice.
#define TEXT_OF(name) #name
#define TEXT(name) TEXT_OF(name)
#define FORWARD(name, parameters, arguments)                                                                            \
    extern "C" CUresult CUDAAPI name parameters {                                                                       \
        static auto * const function = find<CUresult parameters>(TEXT(name));                                           \
        return function ? function arguments : CUDA_ERROR_NOT_INITIALIZED;                                              \
    }

FORWARD(cuGetErrorString, (CUresult error, const char ** text), (error, text))
FORWARD(cuDeviceGet, (CUdevice * device, int ordinal), (device, ordinal))
FORWARD(cuDeviceGetAttribute, (int * value, CUdevice_attribute attribute, CUdevice device), (value, attribute, device))
FORWARD(cuMemAddressReserve, (CUdeviceptr * pointer, size_t size, size_t alignment, CUdeviceptr address, unsigned long long flags),
        (pointer, size, alignment, address, flags))
FORWARD(cuMemAddressFree, (CUdeviceptr pointer, size_t size), (pointer, size))
FORWARD(cuMemCreate, (CUmemGenericAllocationHandle * handle, size_t size, const CUmemAllocationProp * properties, unsigned long long flags),
        (handle, size, properties, flags))
FORWARD(cuMemRelease, (CUmemGenericAllocationHandle handle), (handle))
FORWARD(cuMemGetAllocationGranularity, (size_t * granularity, const CUmemAllocationProp * properties, CUmemAllocationGranularity_flags option),
        (granularity, properties, option))
FORWARD(cuMemMap, (CUdeviceptr pointer, size_t size, size_t offset, CUmemGenericAllocationHandle handle, unsigned long long flags),
        (pointer, size, offset, handle, flags))
FORWARD(cuMemUnmap, (CUdeviceptr pointer, size_t size), (pointer, size))
FORWARD(cuMemSetAccess, (CUdeviceptr pointer, size_t size, const CUmemAccessDesc * access, size_t count), (pointer, size, access, count))
