//! Names: what the functions at an instruction pointer are called. The only file that names addr2line.

use std::fs;
use std::io::Read;
use std::ops::Range;

use addr2line::Loader;

use super::frames::Frame;

/// This program, also when its file has been replaced since.
const PROGRAM: &str = "/proc/self/exe";

/// The names in this program.
pub(super) struct Names {
    loader: Loader,
    /// Where the program is in memory.
    memory: Range<u64>,
    /// How far that is from the addresses in its file.
    bias: u64,
}

impl Names {
    /// `None` where they cannot be read.
    pub(super) fn load() -> Option<Self> {
        let memory = memory()?;
        let bias = if is_moved()? { memory.start } else { 0 };
        Some(Names { loader: Loader::new(PROGRAM).ok()?, memory, bias })
    }

    /// The functions at an instruction pointer: with those that are inlined there, innermost first.
    pub(super) fn frames(&self, ip: usize) -> Vec<Frame> {
        // The pointer is where the call returns to.
        let address = (ip as u64).wrapping_sub(1);
        if !self.memory.contains(&address) {
            // Of a shared library; its names are not those of the program.
            return Vec::new();
        }
        let address = address - self.bias;
        let mut frames = Vec::new();
        if let Ok(mut found) = self.loader.find_frames(address) {
            while let Ok(Some(frame)) = found.next() {
                let location = frame.location.as_ref();
                let file = location.and_then(|location| location.file).unwrap_or_default();
                let line = location.and_then(|location| location.line).unwrap_or_default();
                if let Some(name) = frame.function.as_ref().and_then(|name| name.raw_name().ok()) {
                    frames.push(Frame::new(&name, file, line));
                } else if let Some(name) = self.loader.find_symbol(address) {
                    frames.push(Frame::new(name, file, line));
                }
            }
        }
        if let Some(name) = self.loader.find_symbol(address) {
            match frames.last_mut() {
                // That of the function itself has its path.
                Some(outermost) if !outermost.has_path() => outermost.function = demangle(name),
                Some(_) => {}
                None => frames.push(Frame::new(name, "", 0)),
            }
        }
        frames
    }
}

pub(super) fn demangle(raw_name: &str) -> String {
    let name = addr2line::demangle_auto(raw_name.into(), None).into_owned();
    // The hash of a name that is mangled in the older way.
    let name = match name.rsplit_once("::h") {
        Some((path, hash)) if hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => path.to_string(),
        _ => name,
    };
    // `{async_fn#0}`, where only the name itself is known.
    let name = name.replace("{{closure}}", "{closure}").replace("{async_", "{async ");
    match name.strip_suffix('}').and_then(|name| name.rsplit_once('#')) {
        Some((name, number)) if number.bytes().all(|b| b.is_ascii_digit()) => format!("{name}}}"),
        _ => name,
    }
}

/// Whether the program has been moved in memory when it was loaded.
fn is_moved() -> Option<bool> {
    const EXECUTABLE: u16 = 2;
    let mut head = [0; 18];
    fs::File::open(PROGRAM).ok()?.read_exact(&mut head).ok()?;
    Some(u16::from_ne_bytes([head[16], head[17]]) != EXECUTABLE)
}

fn memory() -> Option<Range<u64>> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    memory_of(fs::read_link(PROGRAM).ok()?.to_str()?, &maps)
}

/// From the first to the last mapping of a file.
fn memory_of(path: &str, maps: &str) -> Option<Range<u64>> {
    let mut memory: Option<Range<u64>> = None;
    for line in maps.lines() {
        let mut fields = line.splitn(6, ' ');
        let (addresses, file) = (fields.next()?, fields.nth(4).unwrap_or_default());
        if file.trim_start() == path {
            let (start, end) = addresses.split_once('-')?;
            let (start, end) = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
            memory = Some(memory.map_or(start, |memory| memory.start)..end);
        }
    }
    memory
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_program_goes_from_its_first_to_its_last_mapping() {
        let maps = "55d0c0a00000-55d0c0a10000 r--p 00000000 fd:00 131 /opt/my shop (deleted)\n\
                    55d0c0a10000-55d0c0b00000 r-xp 00010000 fd:00 131                    /opt/my shop (deleted)\n\
                    55d0c1000000-55d0c1021000 rw-p 00000000 00:00 0                      [heap]\n\
                    7f0000000000-7f0000001000 r-xp 00000000 fd:00 132                    /usr/lib/libc.so.6\n\
                    7f0000002000-7f0000003000 rw-p 00000000 00:00 0\n";
        assert_eq!(memory_of("/opt/my shop (deleted)", maps), Some(0x55d0_c0a0_0000..0x55d0_c0b0_0000));
        assert_eq!(memory_of("/opt/my shop", maps), None);
    }

    #[test]
    fn a_function_of_this_program_has_its_name_and_one_of_a_library_none() {
        let names = Names::load().expect("it can be read");
        let here = demangle as fn(&str) -> String as usize + 1;
        let frames = names.frames(here);
        assert!(frames.iter().any(|frame| frame.function.ends_with("names::demangle")), "{frames:?}");
        assert!([0, 4096, usize::MAX / 2].iter().all(|ip| names.frames(*ip).is_empty()));
    }
}
