// Package parquet reads Parquet files as JSON Lines, in a process of its own. The format lets a file of a few bytes ask for
// gigabytes, in its footer, in the heads of its pages, and in what is compressed or encoded as runs; a Go program that cannot
// have the memory it asks for ends. So a child process reads the file, with a bound on its memory and its time, and it is the
// child that ends. It knows nothing of what the rows mean.
package parquet
