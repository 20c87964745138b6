//! ONNX files carried out, by a runtime that has seen nothing but the file.

use rten::{Model, Value};

/// The logits that an ONNX file gives for images (n, channels, rows, columns), image by image.
///
/// # Errors
/// What the runtime refuses, as the end of a sentence.
///
/// # Panics
/// If there are more or fewer values than the shape says.
pub fn run_onnx(bytes: &[u8], images: &[f32], shape: [usize; 4]) -> Result<Vec<f32>, String> {
    assert_eq!(images.len(), shape.iter().product::<usize>(), "images of the shape {shape:?}");
    let model = Model::load(bytes.to_vec()).map_err(|e| e.to_string())?;
    let images = Value::from_shape(shape, images.to_vec()).map_err(|e| e.to_string())?;
    let output = model.run_one(images.into(), None).map_err(|e| e.to_string())?;
    let ([n, _], logits): ([usize; 2], Vec<f32>) = output.into_shape_vec().map_err(|e| e.to_string())?;
    if n == shape[0] { Ok(logits) } else { Err(format!("it gives logits for {n} images and not for {}", shape[0])) }
}
