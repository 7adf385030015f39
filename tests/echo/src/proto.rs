//! The gRPC service, generated from `proto/echo.proto`.

#![allow(missing_docs, unreachable_pub, clippy::all)]

tonic::include_proto!("ambit.echo.v1");
