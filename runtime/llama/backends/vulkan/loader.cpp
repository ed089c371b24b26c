// The functions of libvulkan that ggml-vulkan refers to by name; it asks vkGetInstanceProcAddr for all others.
// libvulkan.so.1 is opened when the first is called, so that the back end can be loaded where there is none: it then
// reports version 0 of Vulkan, which ggml says is too old, and has no devices.
#include <dlfcn.h>
#include <string_view>
#include <vulkan/vulkan_core.h>

namespace {

void * loader() {
    static void * const handle = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
    return handle;
}

template <typename Function> Function find(const char * name) {
    return loader() ? reinterpret_cast<Function>(dlsym(loader(), name)) : nullptr;
}

VkResult no_version(uint32_t * version) {
    *version = 0;
    return VK_SUCCESS;
}

} // namespace

extern "C" {

PFN_vkVoidFunction vkGetInstanceProcAddr(VkInstance instance, const char * name) {
    static const auto function = find<PFN_vkGetInstanceProcAddr>("vkGetInstanceProcAddr");
    if (function) {
        return function(instance, name);
    }
    return std::string_view(name) == "vkEnumerateInstanceVersion" ? reinterpret_cast<PFN_vkVoidFunction>(no_version) : nullptr;
}

// A device exists only where libvulkan does.
void vkGetPhysicalDeviceFeatures2(VkPhysicalDevice device, VkPhysicalDeviceFeatures2 * features) {
    static const auto function = find<PFN_vkGetPhysicalDeviceFeatures2>("vkGetPhysicalDeviceFeatures2");
    function(device, features);
}

void vkCmdCopyBuffer(VkCommandBuffer commands, VkBuffer from, VkBuffer to, uint32_t count, const VkBufferCopy * regions) {
    static const auto function = find<PFN_vkCmdCopyBuffer>("vkCmdCopyBuffer");
    function(commands, from, to, count, regions);
}

} // extern "C"
