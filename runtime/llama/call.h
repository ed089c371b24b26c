// What surrounds every crossing: the library's log, its last error, and exceptions.
#pragma once
#include "c_api.h"
#include <exception>
#include <new>
#include <stdexcept>
#include <string>

namespace lorikeet {

// A Call lives for one call from Go, on the calling thread. While it lives, what llama.cpp logs on this
// thread goes to the Go callback `log` (0: nowhere), and the first error it logs is kept: that is the line
// which names the cause; those after it only say that something failed.
class Call {
public:
    explicit Call(uintptr_t log);
    ~Call();
    Call(const Call &) = delete;
    Call & operator=(const Call &) = delete;

    static void init(); // routes the logs of ggml and llama.cpp to the current Call of their thread

    // The library's error, without the name of the C function; otherwise what stands for it.
    std::string error(const std::string & otherwise) const;
    // Throws the library's error: an OutOfMemory where it found no memory.
    [[noreturn]] void fail(const std::string & otherwise) const;
    // Calls fn(done, total) when a line "[ done/ total] ..." is logged: the only progress that the quantizer gives.
    uintptr_t counter = 0;

private:
    static void sink(int level, const char * text);
    void line(int level, const std::string & text);

    Call * outer;
    uintptr_t log;
    int level = 0;
    std::string pending, first_error;
    bool no_memory = false; // an error said so
};

// A bad_alloc that says what found no memory.
class OutOfMemory : public std::bad_alloc {
public:
    explicit OutOfMemory(std::string text) : text(std::move(text)) {}
    const char * what() const noexcept override { return text.c_str(); }

private:
    std::string text;
};

void set_error(ll_error * err, int code, const char * text);

// Runs body and turns an exception into err. Returns body's value, or failed.
template <typename T, typename F> T guarded(ll_error * err, T failed, F body) {
    try {
        return body();
    } catch (const OutOfMemory & e) {
        set_error(err, LL_NO_MEMORY, e.what());
    } catch (const std::bad_alloc &) {
        set_error(err, LL_NO_MEMORY, "");
    } catch (const std::exception & e) {
        set_error(err, LL_FAILED, e.what());
    } catch (...) {
        set_error(err, LL_FAILED, "an unknown C++ exception");
    }
    return failed;
}

} // namespace lorikeet
