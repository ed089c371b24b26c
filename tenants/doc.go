// Package tenants admits clients: it knows the API keys of a server, and what the owner of each may do and use.
//
// A tenant is the owner of one or more keys. Its name is the namespace of what it makes: an adapter that the tenant "shop"
// makes under the name "greet" is registered as "shop.greet". A tenant sees its own adapters, by either name, and those
// that its patterns match; for everything else the server answers as if it did not exist.
//
// Keys are kept as SHA-256 digests in a file, which is read again when it changes. A digest without salt suffices, for a
// key is 32 random bytes and not a password that people choose.
package tenants
