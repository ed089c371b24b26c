#include "resident.h"
#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <system_error>
#include <thread>
#include <unistd.h>

namespace lorikeet {

lq_weight resident(const Model & m, int target) {
    const Target & t = m.targets[(size_t) target];
    lq_weight w;
    if (lq_view(t.weight, m.packed(t.weight), &w) != LQ_OK) {
        throw std::runtime_error(t.name + ": the adapter needs the weights themselves, and those of type " + ggml_type_name(t.weight->type)
            + " in this layout cannot be read");
    }
    return w;
}

void in_background(int rows, const std::function<void(int row, int rows)> & f) {
    std::atomic<int> next{0};
    std::mutex mutex;
    std::exception_ptr failure;
    auto work = [&] {
        try {
            for (int row; (row = next.fetch_add(LQ_READ_ROWS)) < rows;) {
                f(row, std::min((int) LQ_READ_ROWS, rows - row));
            }
        } catch (...) {
            std::lock_guard<std::mutex> lock(mutex);
            failure = std::current_exception();
        }
    };
    const int groups = (rows + LQ_READ_ROWS - 1)/LQ_READ_ROWS, most = std::min(std::max((int) std::thread::hardware_concurrency(), 1), groups);
    std::vector<std::thread> threads;
    threads.reserve((size_t) most);
    try {
        while ((int) threads.size() < most) {
            threads.emplace_back([&] {
                setpriority(PRIO_PROCESS, (id_t) syscall(SYS_gettid), 19); // of this thread alone, on Linux
                work();
            });
        }
    } catch (const std::system_error &) { // the system has no more threads: fewer do, or this one
        if (threads.empty()) {
            work();
        }
    }
    for (std::thread & t : threads) {
        t.join();
    }
    if (failure) {
        std::rethrow_exception(failure);
    }
}

} // namespace lorikeet
