//! Robust differentiable architecture search: the command line and the facade library
