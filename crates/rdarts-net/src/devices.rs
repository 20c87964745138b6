//! The graphics cards of this machine that the program can compute on.
//!
//! They are there in a build with the cargo feature `gpu` alone, by whatever interface the machine has for them: Vulkan,
//! Metal or DirectX 12. A driver that computes on the processor, such as Mesa's llvmpipe, is listed last.

use std::fmt;

/// A graphics card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// Its place in the list: the 1 of `gpu:1`.
    pub number: usize,
    /// As it names itself.
    pub name: String,
    /// What kind of card it is.
    pub kind: GpuKind,
    /// Its driver, with the version.
    pub driver: String,
    /// The interface it is reached by: `Vulkan`.
    pub interface: String,
    /// Where it is plugged in, if the driver tells: `0000:65:00.0`.
    pub bus: String,
    /// Bytes of its own memory, or of the machine's if it has none of its own; `None` if no one says.
    pub memory: Option<u64>,
    /// Its place among those of its kind.
    pub at: usize,
}

/// What kind of card one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GpuKind {
    /// With a memory of its own.
    Discrete,
    /// Part of the processor.
    Integrated,
    /// Of a virtual machine.
    Virtual,
    /// None of these.
    Other,
    /// A driver that computes on the processor.
    Software,
}

impl fmt::Display for GpuKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Discrete => "discrete",
            Self::Integrated => "integrated",
            Self::Virtual => "virtual",
            Self::Other => "other",
            Self::Software => "software",
        })
    }
}

/// Whether this program was built for graphics cards.
pub const HAS_GPUS: bool = cfg!(feature = "gpu");

/// The graphics cards of this machine, the most promising first; none in a build without the feature `gpu`.
pub fn gpus() -> Vec<Gpu> {
    #[cfg(feature = "gpu")]
    return listed::gpus();
    #[cfg(not(feature = "gpu"))]
    Vec::new()
}

#[cfg(feature = "gpu")]
pub use listed::lose_all;
#[cfg(feature = "gpu")]
pub(crate) use listed::open;

#[cfg(feature = "gpu")]
pub use rdarts_gpu::{AllLaunches, Counted, Launches, counted};
#[cfg(feature = "gpu")]
pub(crate) use rdarts_gpu::{came_down, went_up};

/// There is no card that bytes could go to.
#[cfg(not(feature = "gpu"))]
pub(crate) fn went_up(_: usize) {}

/// Nor one that they could come from.
#[cfg(not(feature = "gpu"))]
pub(crate) fn came_down(_: usize) {}

#[cfg(feature = "gpu")]
mod listed {
    use std::process::Command;
    use std::sync::{Mutex, PoisonError};

    use burn::tensor::wgpu::wgpu;
    use burn::tensor::{Device, DeviceKind, read_sync};

    use super::{Gpu, GpuKind};

    pub fn gpus() -> Vec<Gpu> {
        let mut gpus: Vec<Gpu> = Vec::new();
        for info in adapters() {
            let kind = kind_of(info.device_type);
            let at = gpus.iter().filter(|gpu| gpu.kind == kind).count();
            // Software drivers have no places: the first is all that can be asked for.
            if kind == GpuKind::Software && at > 0 {
                continue;
            }
            let driver = format!("{} {}", info.driver, info.driver_info).trim().to_string();
            let (interface, memory) = (format!("{:?}", info.backend), memory_of(&info));
            let (name, bus) = (info.name, info.device_pci_bus_id);
            gpus.push(Gpu { number: 0, name, kind, driver, interface, bus, memory, at });
        }
        // The framework opens one of another kind only as the default card, which it is if it is alone.
        if gpus.len() > 1 {
            gpus.retain(|gpu| gpu.kind != GpuKind::Other);
        }
        gpus.sort_by_key(|gpu| gpu.kind);
        for (number, gpu) in gpus.iter_mut().enumerate() {
            gpu.number = number;
        }
        gpus
    }

    /// The adapters of the first interface that has a real card, or of the first that has any: those that the framework
    /// counts.
    fn adapters() -> Vec<wgpu::AdapterInfo> {
        let interfaces: &[wgpu::Backend] = if cfg!(target_vendor = "apple") {
            &[wgpu::Backend::Metal]
        } else if cfg!(windows) {
            &[wgpu::Backend::Vulkan, wgpu::Backend::Dx12]
        } else {
            &[wgpu::Backend::Vulkan]
        };
        let all: Vec<Vec<wgpu::AdapterInfo>> = interfaces.iter().map(|&interface| adapters_of(interface)).collect();
        let real = |found: &&Vec<wgpu::AdapterInfo>| found.iter().any(|i| i.device_type != wgpu::DeviceType::Cpu);
        all.iter().find(real).or_else(|| all.iter().find(|found| !found.is_empty())).cloned().unwrap_or_default()
    }

    fn adapters_of(interface: wgpu::Backend) -> Vec<wgpu::AdapterInfo> {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
            backends: interface.into(),
            ..wgpu::InstanceDescriptor::new_without_display_handle()
        });
        read_sync(instance.enumerate_adapters(interface.into())).iter().map(wgpu::Adapter::get_info).collect()
    }

    fn kind_of(device_type: wgpu::DeviceType) -> GpuKind {
        match device_type {
            wgpu::DeviceType::DiscreteGpu => GpuKind::Discrete,
            wgpu::DeviceType::IntegratedGpu => GpuKind::Integrated,
            wgpu::DeviceType::VirtualGpu => GpuKind::Virtual,
            wgpu::DeviceType::Cpu => GpuKind::Software,
            wgpu::DeviceType::Other => GpuKind::Other,
        }
    }

    /// The interfaces do not say how much memory a card has; drivers do, each in its own way.
    fn memory_of(info: &wgpu::AdapterInfo) -> Option<u64> {
        if matches!(info.device_type, wgpu::DeviceType::Cpu | wgpu::DeviceType::IntegratedGpu) {
            return of_the_machine();
        }
        let bus = info.device_pci_bus_id.to_lowercase();
        let file = format!("/sys/bus/pci/devices/{bus}/mem_info_vram_total");
        let by_amd = std::fs::read_to_string(file).ok().and_then(|bytes| bytes.trim().parse().ok());
        by_amd.or_else(|| by_nvidia(&bus))
    }

    fn by_nvidia(bus: &str) -> Option<u64> {
        let asked = ["--query-gpu=memory.total", "--format=csv,noheader,nounits", "--id", bus];
        let out = Command::new("nvidia-smi").args(asked).output().ok().filter(|out| out.status.success())?;
        let mebibytes: u64 = String::from_utf8(out.stdout).ok()?.trim().parse().ok()?;
        Some(mebibytes << 20)
    }

    fn of_the_machine() -> Option<u64> {
        let text = std::fs::read_to_string("/proc/meminfo").ok()?;
        let kibibytes: u64 =
            text.lines().find_map(|l| l.strip_prefix("MemTotal:"))?.split_whitespace().next()?.parse().ok()?;
        Some(kibibytes << 10)
    }

    /// The device of a card.
    ///
    /// # Errors
    /// Why there is none, as its driver says it.
    pub fn open(gpu: &Gpu) -> Result<Device, String> {
        let kind = match gpu.kind {
            GpuKind::Discrete => DeviceKind::DiscreteGpu(gpu.at),
            GpuKind::Integrated => DeviceKind::IntegratedGpu(gpu.at),
            GpuKind::Virtual => DeviceKind::VirtualGpu(gpu.at),
            // The framework has no name for these.
            GpuKind::Other => DeviceKind::DefaultDevice,
            GpuKind::Software => DeviceKind::Cpu,
        };
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = opened.iter().find(|there| there.kind == kind) {
            return Ok(there.device.clone());
        }
        let options = Device::wgpu_options().device_kind(kind.clone());
        let (device, setup) = options.init_with_setup().map_err(|e| e.to_string())?;
        opened.push(Opened { kind, device: device.clone(), handle: setup.device });
        Ok(device)
    }

    /// The framework opens a card once.
    static OPENED: Mutex<Vec<Opened>> = Mutex::new(Vec::new());

    struct Opened {
        kind: DeviceKind,
        device: Device,
        handle: wgpu::Device,
    }

    /// Takes away all cards that this process has opened, as a driver's reset does: to see what happens then.
    pub fn lose_all() {
        let opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        opened.iter().for_each(|there| there.handle.destroy());
    }
}
