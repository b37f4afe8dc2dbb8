//! Live tests: a real server, real sockets.
