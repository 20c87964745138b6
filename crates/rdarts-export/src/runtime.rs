//! ONNX files carried out, by a runtime that has seen nothing but the file.

use rten::{Model, Value};

/// The logits that an ONNX file gives for images (n, channels, rows, columns), image by image, where so many images are
/// computed at a time.
///
/// # Errors
/// What the runtime refuses, as the end of a sentence.
///
/// # Panics
/// If there are more or fewer values than the shape says, or the batch is 0.
pub fn run_onnx(bytes: &[u8], images: &[f32], shape: [usize; 4], batch: usize) -> Result<Vec<f32>, String> {
    assert_eq!(images.len(), shape.iter().product::<usize>(), "images of the shape {shape:?}");
    assert_ne!(batch, 0, "images are computed so many at a time");
    let model = Model::load(bytes.to_vec()).map_err(|e| e.to_string())?;
    let [_, c, h, w] = shape;
    let mut all = Vec::new();
    for images in images.chunks((batch * c * h * w).max(1)) {
        let wanted = images.len() / (c * h * w);
        let images = Value::from_shape([wanted, c, h, w], images.to_vec()).map_err(|e| e.to_string())?;
        let output = model.run_one(images.into(), None).map_err(|e| e.to_string())?;
        let ([n, _], logits): ([usize; 2], Vec<f32>) = output.into_shape_vec().map_err(|e| e.to_string())?;
        if n != wanted {
            return Err(format!("it gives logits for {n} images and not for {wanted}"));
        }
        all.extend(logits);
    }
    Ok(all)
}
