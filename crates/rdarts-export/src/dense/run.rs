//! ONNX files of networks for disparity carried out, by a runtime that has seen nothing but the file.

use rten::{Model, Value};

/// The disparities (n, height, width) that an ONNX file gives for views (n, 3, height, width) with pixels from 0 to 1.
///
/// # Errors
/// What the runtime refuses, as the end of a sentence.
///
/// # Panics
/// If there are more or fewer values than the shape says.
pub fn run_dense_onnx(
    bytes: &[u8],
    [left, right]: [&[f32]; 2],
    [n, height, width]: [usize; 3],
) -> Result<Vec<f32>, String> {
    assert!(left.len() == 3 * n * height * width && right.len() == left.len(), "views of {n}x3x{height}x{width}");
    let model = Model::load(bytes.to_vec()).map_err(|e| e.to_string())?;
    let place = |name: &str| model.node_id(name).map_err(|e| e.to_string());
    let value = |view: &[f32]| Value::from_shape([n, 3, height, width], view.to_vec()).map_err(|e| e.to_string());
    let inputs = vec![(place("left")?, value(left)?.into()), (place("right")?, value(right)?.into())];
    let outputs = model.run(inputs, &[place("disparity")?], None).map_err(|e| e.to_string())?;
    let output = outputs.into_iter().next().ok_or("it gives nothing")?;
    let (shape, disparity): ([usize; 4], Vec<f32>) = output.into_shape_vec().map_err(|e| e.to_string())?;
    match shape == [n, 1, height, width] {
        true => Ok(disparity),
        false => Err(format!("it gives disparities of the shape {shape:?}")),
    }
}
