"""Many ticks at once in compiled code: `ticks.c`, as WebAssembly, and what calls it."""
