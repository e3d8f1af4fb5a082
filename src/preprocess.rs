//! A grey plane → the network's input. Pure, and the same code in training and in the daemon.

/// A decoded, displayable grey image, row-major, `data.len() == width * height`.
///
/// Values are in no particular unit; larger is brighter as displayed (MONOCHROME1 already inverted).
#[derive(Clone, Debug, PartialEq)]
pub struct Plane {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Row-major grey values.
    pub data: Vec<f32>,
}
