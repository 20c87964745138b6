//! The bilevel search, its optimisers, the alpha-Hessian and the monitor
