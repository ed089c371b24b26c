// The threads that compute what an adapter needs to know of the base's weights.
#include "weight_view.h"
#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

namespace lorikeet {

namespace {

// One call of in_background, on its caller's stack. All fields belong to the pool's mutex.
struct Work {
    const std::function<void(int row, int rows)> & f;
    const int rows;
    int next = 0;    // the first row that no thread has taken
    int running = 0; // calls of f
    std::exception_ptr failure;
    std::condition_variable done;
    Work * behind = nullptr; // in the queue
};

// Threads of the lowest priority, which work on calls in the order in which they came. They live as long as the process.
class Pool {
public:
    Pool() {
        const int most = std::max((int) std::thread::hardware_concurrency(), 1);
        try {
            for (; threads < most; threads++) {
                std::thread([this] {
                    setpriority(PRIO_PROCESS, (id_t) syscall(SYS_gettid), 19); // of this thread alone, on Linux
                    serve();
                }).detach();
            }
        } catch (const std::exception &) { // the system has no more threads, or no memory for one: fewer do
        }
    }

    void run(Work & work) {
        std::unique_lock<std::mutex> lock(mutex);
        Work ** end = &queue;
        while (*end) {
            end = &(*end)->behind;
        }
        *end = &work;
        more.notify_all();
        while (threads == 0 && work.next < work.rows) {
            step(work, lock);
        }
        work.done.wait(lock, [&] { return work.next >= work.rows && work.running == 0; });
        if (work.failure) {
            std::rethrow_exception(work.failure);
        }
    }

private:
    void serve() {
        std::unique_lock<std::mutex> lock(mutex);
        for (;;) {
            more.wait(lock, [&] { return queue; });
            step(*queue, lock);
        }
    }

    // Takes the next group of the rows and does it, without the lock. The last one that is taken ends the queue's hold on
    // the work, and so does a failure.
    void step(Work & work, std::unique_lock<std::mutex> & lock) {
        const int row = work.next, some = std::min((int) LQ_READ_ROWS, work.rows - row);
        work.next += some;
        if (work.next >= work.rows) {
            remove(work);
        }
        work.running++;
        lock.unlock();
        std::exception_ptr failure;
        try {
            work.f(row, some);
        } catch (...) {
            failure = std::current_exception();
        }
        lock.lock();
        if (failure && !work.failure) {
            work.failure = failure;
            if (work.next < work.rows) {
                work.next = work.rows;
                remove(work);
            }
        }
        if (--work.running == 0 && work.next >= work.rows) {
            work.done.notify_one(); // its caller may free it as soon as the lock is released
        }
    }

    void remove(Work & work) {
        Work ** at = &queue;
        while (*at != &work) {
            at = &(*at)->behind;
        }
        *at = work.behind;
    }

    std::mutex mutex;
    std::condition_variable more;
    Work * queue = nullptr;
    int threads = 0;
};

} // namespace

void in_background(int rows, const std::function<void(int row, int rows)> & f) {
    static Pool * const pool = new Pool; // never freed: its threads use it until the process ends
    if (rows > 0) {
        Work work{f, rows};
        pool->run(work);
    }
}

} // namespace lorikeet
