"""The part of HTTP/2 (RFC 9113, RFC 7541) that a gRPC server without TLS needs."""
