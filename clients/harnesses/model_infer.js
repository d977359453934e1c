// A closed loop of ModelInfer calls, with the API from the .protoset.
import { check } from 'k6';
import encoding from 'k6/encoding';
import grpc from 'k6/net/grpc';

const address = __ENV.VECSERVE_ADDRESS || '127.0.0.1:50051';
const client = new grpc.Client();
client.loadProtoset('../../protos/vecserve.protoset');

export const options = {
  vus: Number(__ENV.VUS || 4),
  duration: __ENV.DURATION || '5s',
  thresholds: { checks: ['rate==1'] },
};

export default function () {
  if (__ITER === 0) {
    client.connect(address, { plaintext: true });
  }
  const text = {
    name: 'text',
    datatype: 'BYTES',
    shape: [1, 1],
    contents: { bytes_contents: [encoding.b64encode('a cat on a mat')] },
  };
  const request = { model_name: 'all-minilm-l6-v2', inputs: [text] };
  const response = client.invoke('inference.GRPCInferenceService/ModelInfer', request, { timeout: '2s' });
  check(response, { 'is answered': ({ status }) => status === grpc.StatusOK });
}
