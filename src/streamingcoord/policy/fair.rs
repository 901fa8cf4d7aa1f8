//! The two policies built in.

/// `vchannelFair`, the default: even numbers of pchannels and of vchannels, and channels that serve the same
/// collections apart from each other.
#[derive(Clone, Copy, Debug)]
pub struct VChannelFair;

/// `pchannelCountFair`: even numbers of pchannels, and nothing else.
#[derive(Clone, Copy, Debug)]
pub struct PChannelCountFair;
