//! From workloads as they arrive to records that share what is equal.

use std::sync::Arc;

use ambit_model::Workload;

use crate::intern::{Interner, Pool};
use crate::record::{Addresses, Record};
use crate::shape::{Place, Shape, split_uid};

/// Makes records, and remembers what they share.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    strings: Interner,
    shapes: Pool<Shape>,
    places: Pool<Place>,
}

impl Recorder {
    pub(crate) fn record(&mut self, mut workload: Workload) -> Record {
        let ips = std::mem::take(&mut workload.workload_ips);
        Record {
            uid_tail: split_uid(&workload.uid).1.into(),
            addresses: match *ips {
                [ip] => Addresses::One(ip),
                _ => Addresses::Many(ips.into()),
            },
            capacity: workload.capacity,
            status: workload.status,
            place: self.place(Place {
                node: std::mem::take(&mut workload.node),
                locality: std::mem::take(&mut workload.locality),
            }),
            shape: self.shape(Shape::of(workload)),
        }
    }

    fn place(&mut self, mut place: Place) -> Arc<Place> {
        self.places.get(&place).unwrap_or_else(|| {
            place.strings_mut().for_each(|string| self.strings.share(string));
            self.places.insert(Arc::new(place))
        })
    }

    fn shape(&mut self, mut shape: Shape) -> Arc<Shape> {
        self.shapes.get(&shape).unwrap_or_else(|| {
            shape.strings_mut().for_each(|string| self.strings.share(string));
            self.shapes.insert(Arc::new(shape))
        })
    }
}
