//! Fused operations of the DARTS search spaces on slices: forward, vjp, jvp and vjp of the jvp
