//! The supernet: fused kernels as differentiable operations, cell wiring, Hessian-vector products
