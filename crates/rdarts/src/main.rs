//! The `rdarts` program.

// Activations are large and short-lived: the system's allocator gives them back and faults them in again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    rdarts_cli::main()
}
