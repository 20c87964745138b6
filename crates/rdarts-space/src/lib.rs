//! Operations, search spaces and genotypes: pure data
