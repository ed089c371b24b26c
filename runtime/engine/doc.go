// Package engine serves requests: one goroutine owns the Device and, turn after turn, admits requests, plans a
// batch, decodes it, and delivers what was sampled to the streams.
//
// Words used here beside those of package runtime:
//
//   - turn: one Device.Decode and what surrounds it.
//   - flow: the unit of fairness, an adapter by its name or the base.
//
// What is decided and what is done are kept apart. plan says which rows a turn has, queue whose request is
// next, kv what is cached and where a request may live, text what of an answer can be read: these touch
// nothing but their own state. The loop (turn, and what it calls) asks them, calls the Device, and writes
// to the streams. Other goroutines reach it through the inbox alone.
package engine
