// A few threads that share one loop at a time. They sleep between loops, after a wait of microseconds at most:
// as soon as a slice of training is over, llama.cpp's threads need the cores.
#pragma once
#include <stdint.h>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace lq {

class Pool {
public:
    // Throws std::system_error where the system gives no further thread; those already started have then ended.
    explicit Pool(int threads);
    ~Pool();
    Pool(const Pool &) = delete;
    Pool & operator=(const Pool &) = delete;

    int threads() const { return (int) workers.size() + 1; }

    // Calls f(i, thread) for every i in [0, n), in no particular order, on the calling thread (number 0) and the
    // workers, and returns when all are done. One run at a time. f must neither throw nor allocate: it runs on threads
    // that cannot catch what it throws.
    template <typename F> void run(int n, const F & f) {
        run_any(n, [](const void * context, int i, int thread) noexcept { (*(const F *) context)(i, thread); }, &f);
    }

    // Calls f(begin, end, thread) for ranges that make up [0, n).
    template <typename F> void ranges(int n, const F & f) {
        const int pieces = n < 4*threads() ? n : 4*threads();
        run(pieces, [&](int i, int thread) { f((int) ((int64_t) n*i/pieces), (int) ((int64_t) n*(i + 1)/pieces), thread); });
    }

private:
    typedef void Task(const void * context, int i, int thread) noexcept;
    void run_any(int n, Task * task, const void * context);
    void work(int thread);
    void drain(int thread);
    void stop(); // ends the workers and waits for them

    std::vector<std::thread> workers;
    std::mutex lock;
    std::condition_variable wake, finished;
    std::atomic<int> next{0};            // the next i to take
    std::atomic<uint32_t> generation{0}; // counts runs; this and what follows changes under lock alone
    std::atomic<int> inside{0};          // workers in the run
    Task * task = nullptr;
    const void * context = nullptr;
    int total = 0;
    bool open = false; // workers may still join the run
    bool closing = false;
};

} // namespace lq
