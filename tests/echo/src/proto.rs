//! The gRPC services, generated from `proto/`.

#![allow(missing_docs, unreachable_pub, clippy::all)]

tonic::include_proto!("ambit.echo.v1");

pub(crate) mod health {
    tonic::include_proto!("grpc.health.v1");
}
