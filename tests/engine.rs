//! What the tests compute on: the CPU, or the graphics card that RDARTS_TEST_DEVICE names; test files take it in by `#[path]`.

use rdarts_net::burn::tensor::DType;
use rdarts_net::{Engine, Real};

/// In single precision the device of RDARTS_TEST_DEVICE (`gpu:0`), if it is set; cards have no double precision.
pub fn engine<R: Real>() -> Engine {
    let Some(device) = std::env::var_os("RDARTS_TEST_DEVICE") else { return Engine::cpu() };
    if R::dtype() != DType::F32 {
        return Engine::cpu();
    }
    card(&device.into_string().expect("RDARTS_TEST_DEVICE is a name"))
}

#[cfg(feature = "gpu")]
fn card(device: &str) -> Engine {
    let gpus = rdarts_net::devices::gpus();
    let gpu = gpus.iter().find(|gpu| device == format!("gpu:{}", gpu.number));
    Engine::gpu(gpu.unwrap_or_else(|| panic!("there is no {device}, only {gpus:?}"))).unwrap()
}

#[cfg(not(feature = "gpu"))]
fn card(device: &str) -> Engine {
    panic!("RDARTS_TEST_DEVICE is {device}, which needs the feature `gpu`")
}
