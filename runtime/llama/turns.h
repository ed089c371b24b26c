// Who may use a device's queue: turns in the order in which they were asked for, so that neither of two threads that take
// one after the other starves the other. A std::mutex promises no order.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace lorikeet {

class Turns {
public:
    void lock() {
        std::unique_lock<std::mutex> l(mutex);
        const uint64_t mine = asked++;
        changed.wait(l, [&] { return mine == served; });
    }

    void unlock() {
        {
            const std::lock_guard<std::mutex> l(mutex);
            served++;
        }
        changed.notify_all();
    }

private:
    std::mutex mutex;
    std::condition_variable changed;
    uint64_t asked = 0, served = 0;
};

} // namespace lorikeet
