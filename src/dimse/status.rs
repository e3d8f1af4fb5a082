//! DIMSE status codes that this project gives (PS3.7 Annex C, PS3.4 table B.2-1).

/// Stored, or the peer is alive.
pub const SUCCESS: u16 = 0x0000;
/// Processing failure: an error inside; trying again may help.
pub const PROCESSING_FAILURE: u16 = 0x0110;
/// Invalid SOP instance: the SOP Instance UID breaks the rules for UIDs.
pub const INVALID_SOP_INSTANCE: u16 = 0x0117;
/// SOP class not supported in this presentation context.
pub const SOP_CLASS_NOT_SUPPORTED: u16 = 0x0122;
/// Unrecognised operation.
pub const UNRECOGNISED_OPERATION: u16 = 0x0211;
/// Out of resources: no room for it.
pub const OUT_OF_RESOURCES: u16 = 0xA700;
/// The data set does not match the SOP class or the SOP instance that it was announced with.
pub const DATA_SET_MISMATCH: u16 = 0xA900;
/// The data set cannot be read.
pub const CANNOT_UNDERSTAND: u16 = 0xC000;
