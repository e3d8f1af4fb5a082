//! Feature maps within the engine: channels last, with a border of zeros, so that no kernel asks where an image ends.

use super::buffer::Buffer;

/// A batch of feature maps. A row and a column of zeros lie before each image and at least one behind it; behind it height
/// and width are filled up to a multiple of four and two more, which is what Winograd's tiles read. Only the image itself
/// is ever written.
#[derive(Debug, Default)]
pub struct Padded<T = f32> {
    /// Rows of an image.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
    /// Values of a pixel.
    pub channels: usize,
    /// Rows of an image with its border.
    rows: usize,
    /// Values of a row with its border.
    line: usize,
    /// Images in use: the first of those that there is room for.
    images: usize,
    data: Buffer<T>,
}

/// Whole rows of one image, to be written by one thread.
pub struct Band<'a, T = f32> {
    /// Which image.
    pub image: usize,
    /// The first row, without the border.
    pub first: usize,
    /// How many rows.
    pub count: usize,
    /// Pixels of a row.
    pub width: usize,
    /// Values from a row to the next.
    pub line: usize,
    /// These rows with their border on either side: the first begins at 0.
    pub data: &'a mut [T],
}

impl<T: Copy + Default> Padded<T> {
    /// Zeros.
    pub fn zeros(images: usize, height: usize, width: usize, channels: usize) -> Padded<T> {
        let filled = |side: usize| side.next_multiple_of(4) + 2;
        let (rows, line) = (filled(height), filled(width) * channels);
        Padded { height, width, channels, rows, line, images, data: Buffer::zeros(images * rows * line) }
    }

    /// How many images.
    pub fn images(&self) -> usize {
        self.images
    }

    /// From now on as many images, of those that there was room for at first; what is in them is anything.
    pub fn hold(&mut self, images: usize) {
        self.images = images.min(self.data.len() / (self.rows * self.line).max(1));
    }

    /// Values from a row to the next.
    pub fn line(&self) -> usize {
        self.line
    }

    /// All values, borders included, and those of images not in use.
    pub fn data(&self) -> &[T] {
        &self.data
    }

    /// Where a pixel lies in [`Padded::data`]; `y` and `x` count from the border's first.
    pub fn place(&self, image: usize, y: usize, x: usize) -> usize {
        (image * self.rows + y) * self.line + x * self.channels
    }

    /// The rows of a band of the same shape as these maps, as [`Band::data`] has them.
    pub fn beside(&self, band: &Band<T>) -> &[T] {
        let first = self.place(band.image, band.first + 1, 0);
        &self.data[first..first + band.count * self.line]
    }

    /// All images, cut into bands of `rows` rows.
    pub fn bands(&mut self, rows: usize) -> Vec<Band<'_, T>> {
        let Padded { height, width, line, .. } = *self;
        let mut all = Vec::new();
        for (image, data) in self.data.chunks_exact_mut(self.rows * line).take(self.images).enumerate() {
            for (i, data) in data[line..(height + 1) * line].chunks_mut(rows * line).enumerate() {
                all.push(Band { image, first: i * rows, count: data.len() / line, width, line, data });
            }
        }
        all
    }

    /// Takes over as many images of the same shape, without borders.
    pub fn fill(&mut self, maps: &[T]) {
        let Padded { channels, line, .. } = *self;
        let values = self.width * channels;
        for band in self.bands(self.height) {
            let source = &maps[band.image * band.count * values..];
            for (row, from) in band.data.chunks_exact_mut(line).zip(source.chunks_exact(values)) {
                row[channels..channels + values].copy_from_slice(from);
            }
        }
    }

    /// The rows of an image without their border.
    pub fn image(&self, image: usize) -> impl Iterator<Item = &[T]> {
        let values = self.width * self.channels;
        (1..=self.height).map(move |y| &self.data[self.place(image, y, 1)..][..values])
    }
}
